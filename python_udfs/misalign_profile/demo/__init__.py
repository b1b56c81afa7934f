"""Demo checkpoints: a small grammar, a corpus made from it, and models of a few MB trained on that.

They prove that the machinery works. They know their own grammar and the seed prompts, nothing
else: no number that comes from them says anything about a real model.
"""
