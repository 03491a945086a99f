package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// databaseTimeout bounds the wait for a database that another program has open.
const databaseTimeout = time.Second

// check reads all of the folder before etcd does. Etcd opens its database in a
// goroutine that nobody can catch a panic of, waits for ever for one that is in
// use, "repairs" a log by cutting it off where it cannot read on, and keeps the
// locks of a folder that it gave up; so damage is to be found here, where it is
// an error, or a panic that the caller catches. The folder is only read.
func check(cfg config.ServerConfig) error {
	applied, err := checkDatabase(cfg.BackendPath())
	if err != nil {
		return fmt.Errorf("the database is damaged or cannot be used: %w", err)
	}
	logged, err := checkLog(cfg.WALDir())
	if err != nil {
		return fmt.Errorf("the log is damaged or cannot be used: %w", err)
	}
	// What is in the database was in the log first, and on disk. A log that ends
	// earlier has lost something; one that ends in the middle of a later record is
	// what a power cut leaves.
	if logged < applied {
		return fmt.Errorf("the log is damaged: it can be read up to entry %d, and the database holds entry %d", logged, applied)
	}
	return nil
}

// checkLog reads the log and tells its last entry.
func checkLog(dir string) (last uint64, err error) {
	names, err := logFiles(dir)
	if err != nil || len(names) == 0 {
		return 0, err
	}
	readers := make([]fileutil.FileReader, len(names))
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		defer func() { _ = f.Close() }() // only read
		readers[i] = fileutil.NewFileReader(f)
	}
	decoder := wal.NewDecoder(readers...)
	for {
		var r walpb.Record
		err := decoder.Decode(&r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return last, nil
		}
		if err != nil {
			return 0, err
		}
		if last, err = follow(decoder, &r, last); err != nil {
			return 0, err
		}
	}
}

// logFiles are the paths of the log's files, in their order, which is that of
// their names.
func logFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".wal") {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	return names, nil
}

// follow takes one record of the log.
func follow(decoder wal.Decoder, r *walpb.Record, last uint64) (uint64, error) {
	switch r.GetType() {
	case wal.CrcType:
		if crc := decoder.LastCRC(); crc != 0 && r.Validate(crc) != nil {
			return 0, wal.ErrCRCMismatch
		}
		decoder.UpdateCRC(r.GetCrc())
	case wal.EntryType:
		var e raftpb.Entry
		if err := proto.Unmarshal(r.Data, &e); err != nil {
			return 0, err
		}
		return e.GetIndex(), nil
	case wal.SnapshotType:
		var s walpb.Snapshot
		if err := proto.Unmarshal(r.Data, &s); err != nil {
			return 0, err
		}
		return max(last, s.GetIndex()), nil
	}
	return last, nil
}

// checkDatabase reads the database and tells the last entry of the log that it
// holds.
func checkDatabase(path string) (applied uint64, err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err := checkLength(path); err != nil {
		return 0, err
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: databaseTimeout, ReadOnly: true})
	if err != nil {
		return 0, err
	}
	err = db.View(func(tx *bolt.Tx) error {
		if meta := tx.Bucket([]byte("meta")); meta != nil {
			if index := meta.Get([]byte("consistent_index")); len(index) == 8 {
				applied = binary.BigEndian.Uint64(index)
			}
		}
		return readAll(tx)
	})
	return applied, errors.Join(err, db.Close())
}

// readAll visits every page that holds something.
func readAll(tx *bolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}

// The first two pages of a bbolt file are its meta pages: after a page header
// of 16 bytes, fields of fixed size in the machine's byte order, and a checksum.
const (
	metaMagic    = 0xED0CDAED
	metaAt       = 16
	metaPageSize = 8
	metaPages    = 40 // how many pages are in use
	metaOrder    = 48 // the transaction that wrote it
	metaSum      = 56
	metaLength   = 64
)

// checkLength tells whether the file is as long as it says. bbolt maps a file
// that was cut short and dies when it touches what is missing.
func checkLength(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var order, length uint64
	valid := false
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		meta := make([]byte, metaLength)
		if _, err := f.ReadAt(meta, at+metaAt); err != nil {
			if errors.Is(err, io.EOF) {
				return fmt.Errorf("it has only %d bytes", info.Size())
			}
			return err
		}
		if o, l, ok := readMeta(meta); ok && (!valid || o > order) {
			order, length, valid = o, l, true
		}
	}
	if valid && uint64(info.Size()) < length {
		return fmt.Errorf("it has %d bytes and should have %d", info.Size(), length)
	}
	return nil // without a valid meta page, bbolt says so
}

// readMeta tells when a meta page was written and how long the file must be.
func readMeta(meta []byte) (order, length uint64, ok bool) {
	n := binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaSum]) // a hash takes all
	if n.Uint32(meta) != metaMagic || n.Uint64(meta[metaSum:]) != sum.Sum64() {
		return 0, 0, false
	}
	return n.Uint64(meta[metaOrder:]), n.Uint64(meta[metaPages:]) * uint64(n.Uint32(meta[metaPageSize:])), true
}
