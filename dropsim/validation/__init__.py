"""The battery: known answers that the simulator is held against, for `dropsim validate` and for the tests alike."""
