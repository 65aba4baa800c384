"""Who may use a bundle."""
