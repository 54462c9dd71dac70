//! Single faults.
