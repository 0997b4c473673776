"""The paper's tables: what is printed, what is counted here, and the runs that reproduce them."""
