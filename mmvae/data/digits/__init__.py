"""Digits: files of their releases, rendered stand-ins, words, and the tasks of the literature."""
