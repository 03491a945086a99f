package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// makeRoom ends the alarm of a member that was full. Etcd itself never does, not
// even when there is room again. Nobody follows a revision yet, so all history
// can go, and the file be made as small as what is in it. A member that is still
// full then keeps its alarm: deleting works, and the next start takes that up.
func (s *Server) makeRoom(ctx context.Context, quota int64, log zerolog.Logger) error {
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("list alarms: %w", err)
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if err := s.shrink(ctx); err != nil {
			return err
		}
		if size := s.etcd.Backend().Size(); size >= quota-maxRequestBytes {
			log.Error().Int64("bytes", size).Int64("quota", quota).
				Msg("etcd is full and takes no writes: delete lambdas that are not needed and start again")
			continue
		}
		if _, err := s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return fmt.Errorf("end the alarm: %w", err)
		}
		log.Warn().Msg("etcd was full: its history is gone, and it takes writes again")
	}
	return nil
}

// shrink forgets every revision but the newest and gives the room back.
func (s *Server) shrink(ctx context.Context) error {
	newest, err := s.client.Get(ctx, "\x00", clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("find the newest revision: %w", err)
	}
	_, err = s.client.Compact(ctx, newest.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact: %w", err)
	}
	if err := s.etcd.Backend().Defrag(); err != nil {
		return fmt.Errorf("make the database small: %w", err)
	}
	return nil
}
