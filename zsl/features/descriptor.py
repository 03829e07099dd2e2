def pooled_descriptor(x): pass
