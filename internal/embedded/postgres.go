package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	postgresName = "crier" // of the superuser and of the database

	// startPatience covers the recovery after a crash of a cluster with
	// max_wal_size of 1 GB to replay on a slow disk.
	startPatience = 2 * time.Minute
	// relaunchPatience is how long a launch that ended early is tried again, where
	// that may help: backends of a killed postmaster hold its shared memory until
	// they are gone (stopOrphan sees to that where it can see them), and a free port
	// may be taken between our look and Postgres' bind.
	relaunchPatience = 30 * time.Second
	// orphanPatience is how long the backends of a killed postmaster have to end by
	// themselves, and then after each signal.
	orphanPatience = 2 * time.Second
	// fastPatience is how long a fast shutdown may take (it writes a
	// checkpoint) before the immediate one.
	fastPatience = 10 * time.Second
)

// PostgresConfig says where the private cluster lives.
type PostgresConfig struct {
	// DataDir is a folder of the cluster's own; it is made when missing, and
	// given to the account that Postgres runs as. For root, when that account
	// cannot reach it, the cluster lives below /var/lib/crier instead.
	DataDir string
	// Addr is host:port; port 0 takes a free one. An empty host is 127.0.0.1.
	Addr string
	// Logger receives what happened to the cluster; nil is silent. Postgres' own
	// log is in the folder log beside the data, kept for a week.
	Logger *slog.Logger
	// BinDir is a folder with initdb, postgres and pg_ctl. Empty searches this
	// machine, then downloads. CRIER_POSTGRES_BIN_DIR is the same for operators;
	// its value "none" hides what is installed, so that the download is used.
	BinDir string
	// CacheDir is where downloaded binaries are kept. Empty takes the user's
	// cache folder, or /var/lib/crier where the account cannot reach that.
	CacheDir string
	// DownloadURL is the Maven repository of the binaries; empty is Maven Central.
	DownloadURL string

	// Disposable gives up durability for speed (no fsync), for clusters that are
	// thrown away. Never for data that matters.
	Disposable bool
	// TemplateDir, for disposable clusters, is a folder where the freshly
	// initialised cluster is kept and copied from the next time. Processes of one
	// user may share it.
	TemplateDir string

	// outlive leaves out the parent-death signal, for the test of orphans.
	outlive bool
}

// Postgres is a private cluster: a child process, and a lock on its data
// directory. It owns both; Stop ends them. Methods are safe for concurrent use.
type Postgres struct {
	cfg     PostgresConfig
	log     *slog.Logger
	account account
	home    string // holds password, data, log; DataDir unless relocated
	bin     binaries
	lock    *dirLock

	password string
	addr     string // host:port that is listened on
	proc     *Process

	stop    sync.Once
	stopErr error
}

// StartPostgres starts the cluster in cfg.DataDir, making it first when there is
// none, and returns when it accepts connections. Errors: *AddrInUseError,
// *DirInUseError, *VersionError, and what Postgres wrote when it would not start.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	dir, err := filepath.Abs(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolving the data directory of postgres: %w", err)
	}
	cfg.DataDir = dir
	// What is above is left open to pass through, for the account of Postgres.
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o711), os.MkdirAll(dir, 0o700)); err != nil {
		return nil, fmt.Errorf("making the data directory of postgres: %w", err)
	}
	lock, err := lockDir(dir, "postgres")
	if err != nil {
		return nil, err
	}
	p := &Postgres{cfg: cfg, log: orDiscard(cfg.Logger), lock: lock}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, lock.release())
	}
	return p, nil
}

// start takes the steps of a start in their order: who and where, with which
// binaries, no predecessor alive, a cluster to run, and the run.
func (p *Postgres) start(ctx context.Context) error {
	p.account = postgresAccount(filepath.Join(p.cfg.DataDir, "data"))
	if err := p.settle(); err != nil {
		return err
	}
	if err := p.chooseBinaries(ctx); err != nil {
		return err
	}
	if err := p.stopOrphan(ctx); err != nil {
		return err
	}
	if err := p.ensureCluster(ctx); err != nil {
		return err
	}
	if err := p.launch(ctx); err != nil {
		return err
	}
	p.log.Info("embedded postgres is ready", "addr", p.addr, "version", p.bin.version, "binaries", p.bin.dir, "data", p.dataDir())
	return nil
}

// URL is the connection URL of the database crier, with the password.
func (p *Postgres) URL() string { return p.urlOf(postgresName) }

// Addr is host:port.
func (p *Postgres) Addr() string { return p.addr }

// Done is closed when Postgres has ended, by Stop or on its own.
func (p *Postgres) Done() <-chan struct{} { return p.proc.Done() }

// Stop shuts Postgres down fast (connections are cut, transactions rolled back,
// a checkpoint written), immediately after 10 s or when ctx ends, and waits for
// its end. Called again it returns the same.
func (p *Postgres) Stop(ctx context.Context) error {
	p.stop.Do(func() {
		err := p.proc.Stop(ctx, Step{syscall.SIGINT, fastPatience}, Step{syscall.SIGQUIT, 5 * time.Second})
		p.stopErr = errors.Join(err, p.lock.release())
		if p.stopErr != nil {
			p.stopErr = fmt.Errorf("stopping embedded postgres: %w", p.stopErr)
		}
	})
	return p.stopErr
}

func (p *Postgres) dataDir() string { return filepath.Join(p.home, "data") }

func (p *Postgres) urlOf(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(postgresName, p.password),
		Host:     dialable(p.addr),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// takePort finds out that the address is free, and which port a 0 becomes.
func (p *Postgres) takePort(ctx context.Context) error {
	host, _, err := net.SplitHostPort(p.cfg.Addr)
	if err != nil {
		return fmt.Errorf("reading the address of embedded postgres: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := listen(ctx, "postgres", p.cfg.Addr)
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return fmt.Errorf("trying the address of embedded postgres: %w", err)
	}
	p.addr = net.JoinHostPort(host, port)
	return nil
}
