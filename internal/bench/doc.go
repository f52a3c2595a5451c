// Package bench puts load on Crier and checks every delivery: what was sent and
// has not come is lost, what has come twice is doubled, what has come before
// its predecessor is disordered. It is only a client, over the public
// interfaces.
package bench
