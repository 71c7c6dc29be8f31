"""Finding PHI in a message and carrying out the mask plan that policy chose."""
