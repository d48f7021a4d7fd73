"""How the window looks and behaves, and what it is."""
