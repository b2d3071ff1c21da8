"""Who calls and what runs, as values: facts, grades, signatures, manifests, trust. Pure; `system` asks the kernel."""
