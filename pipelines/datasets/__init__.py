"""Data sets for people: unpacking one into folders, and an HTML view of it."""
