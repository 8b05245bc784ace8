"""Settings that pay: one retrieval and one scoring at the largest depth, and every other setting derived from them."""
