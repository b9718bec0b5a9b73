"""StackTach's REST interface: what its `stacky` and other clients ask for."""
