// Package embedded holds what `crier` needs around it when nothing is
// installed: a private Postgres cluster, a Kafka broker in this process, and a
// mail catcher with a page to read the mails.
//
//	StartPostgres   child process   <DataDir>/data          scram, loopback
//	StartBroker     this process    <DataDir>               one node, one lock
//	StartMailCatcher this process   memory, bounded         SMTP and HTTP
//
// Each Start is synchronous and returns errors; each Stop waits for everything
// that its part owns, may be called twice, and is bounded by its context. The
// parts know nothing of each other or of the rest of the program.
//
// A crash: Postgres and the broker keep their data in files, and what they
// acknowledged is found again after kill -9 of the program. The Postgres child
// is told by the kernel (Linux) or found by the next start to be an orphan, and
// ends before another is started on its data. Mails are in memory and go with
// the process. Two processes on one data directory are kept apart by a file
// lock, which dies with its holder; see DirInUseError.
//
// The package runs on Unix systems.
package embedded
