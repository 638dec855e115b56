"""What a report says: its typed content, patient and study, key image, caveats, and sentences by language."""
