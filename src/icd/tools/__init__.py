"""The commands behind icd's reserved first words."""
