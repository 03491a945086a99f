// Package embedded runs one etcd member inside the gateway's own process, for
// `sluice dev` and for tests. It opens no listener at all, neither TCP nor unix:
// the client that it hands out calls the server by function. What is written is
// on disk before a write is answered, so a killed process loses nothing that it
// acknowledged.
//
// The member is alone for ever. A cluster of gateways needs an etcd cluster of
// the operator's.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3compactor"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// Config says where the member lives.
type Config struct {
	// Dir is the member's folder; it is made if it is missing, for its owner
	// only. One process at a time may use it.
	Dir string
	// Quota is how many bytes the database may have before etcd takes no more
	// writes; default 1 GiB.
	Quota int64
	// Log gets what etcd has to say from level warn upwards.
	Log zerolog.Logger
}

const (
	// memberName and peerURL are labels that etcd wants of every member. Nobody
	// listens at the URL and nobody dials it. They are part of what is on disk.
	memberName = "sluice"
	peerURL    = "http://127.0.0.1:1"

	// One member elects itself: the timeout only delays the start. Half of it,
	// rounded up to a second, is also the shortest lease.
	tickMilliseconds = 50
	electionTicks    = 4

	// Requests wait in memory until a snapshot of raft's log; a save of the
	// largest lambda takes half a megabyte of it.
	snapshotEvery    = 1000
	snapshotCatchUp  = 50
	defaultQuota     = 1 << 30 // also what is mapped of the address space, with a tenth more
	maxRequestBytes  = 3 << 19 // 1.5 MiB, as every etcd cluster has it
	compactRetention = 5 * time.Minute
	startTimeout     = 60 * time.Second
)

// Etcd makes the files of its log in this size at once. Its own 64 MiB would be
// most of the disk that a laptop's gateway takes.
func init() { wal.SegmentSizeBytes = 8 << 20 }

// Server is a running member.
type Server struct {
	etcd     *etcdserver.EtcdServer
	client   *clientv3.Client
	database string // its file
	lock     *os.File
	once     sync.Once

	quiet context.CancelFunc // ends keepSmall
	small chan struct{}      // closed when it has ended
}

// Start opens the folder, recovers what a killed process left there, and
// returns when the member answers. It fails with a text that names the folder
// when that cannot be written, is in use by another process, or is damaged; it
// never changes a damaged folder.
//
// One that was full is made small, and takes writes again if that was enough.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Quota <= 0 {
		c.Quota = defaultQuota
	}
	lock, err := lockFolder(c.Dir)
	if err != nil {
		return nil, err
	}
	s, err := startLocked(ctx, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open etcd in %s: %w", c.Dir, err), lock.Close())
	}
	s.lock = lock
	keeping, quiet := context.WithCancel(context.WithoutCancel(ctx))
	s.quiet, s.small = quiet, make(chan struct{})
	go func() {
		defer close(s.small)
		s.keepSmall(keeping, c.Log)
	}()
	return s, nil
}

// startLocked makes the member if there is none. A member that is killed while
// it is made can never be started: it has a log but is not its own voter. So it
// is made beside its place, and moved there when it is complete.
func startLocked(ctx context.Context, c Config) (*Server, error) {
	data, unborn := filepath.Join(c.Dir, "data"), filepath.Join(c.Dir, "new")
	if err := os.RemoveAll(unborn); err != nil {
		return nil, err
	}
	if _, err := os.Stat(data); errors.Is(err, os.ErrNotExist) {
		// It is stopped before it is done with its own affairs, of which it warns.
		s, err := startMember(ctx, unborn, c.Quota, c.Log.Level(zerolog.ErrorLevel))
		if err != nil {
			return nil, err
		}
		if err := errors.Join(s.Close(), os.Rename(unborn, data), syncFolder(c.Dir)); err != nil {
			return nil, fmt.Errorf("make the member: %w", err)
		}
	}
	return startMember(ctx, data, c.Quota, c.Log)
}

// startMember starts the member of a folder and waits until it answers.
func startMember(ctx context.Context, dir string, quota int64, log zerolog.Logger) (*Server, error) {
	server, err := open(dir, quota, log)
	if err != nil {
		return nil, err
	}
	s := &Server{etcd: server, database: server.Cfg.BackendPath()}
	server.Start()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-server.ReadyNotify():
	case <-server.StopNotify():
		return nil, errors.Join(errors.New("it stopped while it started"), s.Close())
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("wait for it: %w", ctx.Err()), s.Close())
	}
	s.client = v3client.New(server)
	if err := s.makeRoom(ctx, quota, log); err != nil {
		return nil, errors.Join(fmt.Errorf("make room in a full database: %w", err), s.Close())
	}
	return s, nil
}

// Client returns the member's one client, which may be shared by any number of
// goroutines. It ends with the Server.
func (s *Server) Client() *clientv3.Client { return s.client }

// Done is closed when the member has stopped, whether by Close or by a fault
// of its own.
func (s *Server) Done() <-chan struct{} { return s.etcd.StopNotify() }

// Close stops the member and frees the folder. Calls that are under way fail.
// It may be called more than once.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		if s.quiet != nil {
			s.quiet()
			<-s.small
		}
		if s.client != nil {
			// The client has no connection, so its Close has nothing to report
			// but that its context ended.
			if cerr := s.client.Close(); cerr != nil && !errors.Is(cerr, context.Canceled) {
				err = cerr
			}
		}
		s.etcd.HardStop()
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
	})
	return err
}

// open builds the server in a goroutine of its own: on a damaged folder etcd
// logs and panics, or the database meets a page of its file that is not there,
// and either must become an error.
func open(dir string, quota int64, log zerolog.Logger) (server *etcdserver.EtcdServer, err error) {
	cfg, err := serverConfig(dir, quota, log)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		debug.SetPanicOnFault(true)
		defer func() {
			if r := recover(); r != nil {
				server, err = nil, fmt.Errorf("the folder is damaged or cannot be used: %v", r)
			}
		}()
		if err = check(cfg); err == nil {
			server, err = etcdserver.NewServer(cfg)
		}
	}()
	<-done
	return server, err
}

func serverConfig(dir string, quota int64, log zerolog.Logger) (config.ServerConfig, error) {
	u, err := url.Parse(peerURL)
	if err != nil {
		return config.ServerConfig{}, err
	}
	peers := types.URLs{*u}
	logger := bridge(log)
	return config.ServerConfig{
		Name:                       memberName,
		DataDir:                    dir,
		Logger:                     logger,
		PeerURLs:                   peers,
		InitialPeerURLsMap:         types.URLsMap{memberName: peers},
		InitialClusterToken:        memberName,
		NewCluster:                 true,
		SnapshotCount:              snapshotEvery,
		SnapshotCatchUpEntries:     snapshotCatchUp,
		MaxSnapFiles:               2,
		MaxWALFiles:                2,
		TickMs:                     tickMilliseconds,
		ElectionTicks:              electionTicks,
		InitialElectionTickAdvance: true,
		AutoCompactionMode:         v3compactor.ModePeriodic,
		AutoCompactionRetention:    compactRetention,
		CompactionBatchLimit:       1000,
		CompactionSleepInterval:    10 * time.Millisecond,
		QuotaBackendBytes:          quota,
		BackendFreelistType:        bolt.FreelistMapType,
		// An idle database larger than this is made small again at start.
		BootstrapDefragThresholdMegabytes: 64,
		MaxTxnOps:                         128,
		MaxRequestBytes:                   maxRequestBytes,
		MaxConcurrentStreams:              1 << 20,
		WarningApplyDuration:              time.Second,
		WarningUnaryRequestDuration:       2 * time.Second,
		AuthToken:                         "", // no users: nobody but this process reaches the member
		BcryptCost:                        4,
		WatchProgressNotifyInterval:       time.Minute,
		DowngradeCheckTime:                time.Hour,
		MaxLearners:                       1,
		V2Deprecation:                     config.V2DeprDefault,
		ServerFeatureGate:                 features.NewDefaultServerFeatureGate(memberName, logger),
		Metrics:                           "basic",
	}, nil
}
