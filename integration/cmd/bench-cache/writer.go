package main

import "context"

func writer(ctx context.Context, b *bench) error { return nil }
func reads(ctx context.Context, b *bench) error  { return nil }
