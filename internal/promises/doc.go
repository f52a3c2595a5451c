// Package promises holds tests only: scenarios against the whole program, one
// for each promise of docs/contract.md, named after it.
package promises
