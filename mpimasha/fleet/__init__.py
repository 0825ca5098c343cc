"""The workers that a rank owns: who takes part, which samples, and where their variables lie."""
