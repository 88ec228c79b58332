"""Files as people hold them: each is read rightly, or refused in words that lead on."""
