"""Rules of the shop over lists: what may be shown, what comes first and at which place, by slot, time and condition."""
