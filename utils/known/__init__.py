"""What must not come (again): by its id, by its sound, because it was taken out. Knows no uploader."""
