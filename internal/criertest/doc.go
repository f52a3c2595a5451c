// Package criertest is what tests share: a Postgres cluster, an embedded broker
// and a real Apache Kafka, each started once in a test binary at its first use,
// and the places of programs that tests drive. Only tests import it.
//
// A package that uses any of them begins with
//
//	func TestMain(m *testing.M) { criertest.Main(m) }
//
// which stops what was started and checks that no goroutine is left. All
// functions are safe for parallel tests. Servers are children of the test binary
// and end with it, however it ends (on Linux).
//
// A test whose outside program is missing skips, with the reason, unless
// CRIER_TEST_REQUIRE (a comma list, as in .ci/run) demands it.
package criertest
