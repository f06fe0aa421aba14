"""The interface of pydensecrf: `densecrf`, `utils` and `eigen`, on the dense CRF of pyfast.

What differs from the original is listed on the documentation's page on coming from pydensecrf.
"""
