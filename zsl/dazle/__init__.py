"""DAZLE: dense attribute-based attention for fine-grained generalised zero-shot learning."""
