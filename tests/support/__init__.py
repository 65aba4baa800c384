"""What several tests share: builders, the running operator."""
