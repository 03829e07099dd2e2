"""DAZLE: dense attribute-based attention for fine-grained generalized zero-shot learning."""
