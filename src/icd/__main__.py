"""``python -m icd``."""

from icd.cli import main

if __name__ == "__main__":
    main()
