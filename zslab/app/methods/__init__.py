"""How an exported model classifies: one module for each method, behind the protocol of `base`."""
