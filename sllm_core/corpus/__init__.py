"""From the user's folders to clean text and one index of every file."""
