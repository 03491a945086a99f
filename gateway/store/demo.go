package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Demo says whose the demo account is in an etcd that gateways share, and how
// much of it has been made.
type Demo struct {
	Owner      string `json:"owner"` // names the credentials; empty when nobody has claimed it
	Seeded     bool   `json:"seeded"`
	SampleMade bool   `json:"sampleMade"`
}

// Demo reads it; the zero Demo when there is none.
func (s *Store) Demo(ctx context.Context) (Demo, error) {
	var d Demo
	if _, err := s.get(ctx, demoKey, &d); err != nil {
		return Demo{}, fmt.Errorf("read whose the demo account is: %w", err)
	}
	return d, nil
}

// ClaimDemo makes the demo account, for owner's credentials, unless there is an
// account of that id already. Of several gateways at once one succeeds. It tells
// what is there then.
func (s *Store) ClaimDemo(ctx context.Context, a *lambda.Account, owner string) (Demo, error) {
	k, err := key(accountsRoot, a.ID)
	if err != nil {
		return Demo{}, err
	}
	account, err := encode(a)
	if err != nil {
		return Demo{}, err
	}
	claimed := Demo{Owner: owner}
	value, err := encode(claimed)
	if err != nil {
		return Demo{}, err
	}
	r, err := s.commit(ctx, []clientv3.Cmp{absent(demoKey), absent(k)},
		[]clientv3.Op{clientv3.OpPut(demoKey, value), clientv3.OpPut(k, account)}, nil)
	if err != nil {
		return Demo{}, fmt.Errorf("claim the demo account: %w", err)
	}
	if r.Succeeded {
		s.wrote(r.Header.Revision)
		return claimed, nil
	}
	return s.Demo(ctx)
}

// PutDemo notes how much the demo account's owner has made; what was made stays
// so, whoever else notes something. Another owner's is a Conflict.
func (s *Store) PutDemo(ctx context.Context, d Demo) error {
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(demoKey))
		if err != nil {
			return fmt.Errorf("note what was made of the demo account: %w", err)
		}
		kv := first(seen, 0)
		old, err := decodeNew[Demo](kv)
		if err != nil {
			return err
		}
		if old == nil || old.Owner != d.Owner {
			return lambda.Conflict(lambda.CodeGeneral, "the demo account is that of another gateway")
		}
		d.Seeded, d.SampleMade = d.Seeded || old.Seeded, d.SampleMade || old.SampleMade
		value, err := encode(d)
		if err != nil {
			return err
		}
		r, err := s.commit(ctx, []clientv3.Cmp{unchanged(demoKey, kv.ModRevision)}, []clientv3.Op{clientv3.OpPut(demoKey, value)}, nil)
		if err != nil {
			return fmt.Errorf("note what was made of the demo account: %w", err)
		}
		if r.Succeeded {
			return nil
		}
	}
	return overtaken("note what was made of the demo account")
}
