"""The controller process: the only holder of the private keys (DESIGN section 9)."""
