"""Where definitions apply and where jobs stand."""
