"""What answers: a model behind one interface (`protocol.Engine`), and lm-eval's view of it
(`lm.py`).
"""
