package command

// benchCmd is filled in by bench_*.go.
type benchCmd struct{}
