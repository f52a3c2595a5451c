// Package layout holds one test: which package may import which, what has only
// one home, and how large a piece may become. The tables in it are the plan of
// the repository; docs/architecture.md says why it is as it is.
package layout
