package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// CreateDomain adds an entry to the whitelist of d.Account and gives it its ID.
// d.Name must be of lambda.ParseDomain. A name that is there already is a
// Conflict with CodeDomainDuplicate, more entries than Limits.Domains one with
// CodeDomainLimit.
func (s *Store) CreateDomain(ctx context.Context, d lambda.Domain, once *Once) (*lambda.Domain, error) {
	name, err := key(domNamesRoot, d.Account, d.Name)
	if err != nil {
		return nil, err
	}
	names, counter := domNamesRoot+d.Account+"/", domIDsRoot+d.Account
	for range maxAttempts {
		seen, err := s.read(ctx, clientv3.OpGet(name), clientv3.OpGet(counter), countOf(names))
		if err != nil {
			return nil, fmt.Errorf("add domain: %w", err)
		}
		if err := s.mayAddDomain(d.Name, first(seen, 0) != nil, count(seen, 2)); err != nil {
			return nil, err
		}
		last := first(seen, 1)
		d.ID = 1
		if last != nil {
			n, err := strconv.Atoi(string(last.Value))
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", counter, err)
			}
			d.ID = n + 1
		}
		value, err := encode(d)
		if err != nil {
			return nil, err
		}
		id := strconv.Itoa(d.ID)
		// Every addition moves the counter, so none is overlooked.
		r, err := s.commitOnce(ctx, once, id, []clientv3.Cmp{unchanged(counter, modRevision(last)), absent(name)}, []clientv3.Op{
			clientv3.OpPut(counter, id), clientv3.OpPut(name, id), clientv3.OpPut(domainsRoot+d.Account+"/"+id, value),
		})
		if err != nil {
			return nil, fmt.Errorf("add domain: %w", err)
		}
		if r.Succeeded {
			s.wrote(r.Header.Revision)
			return &d, nil
		}
	}
	return nil, overtaken("add domain " + d.Name)
}

func (s *Store) mayAddDomain(name string, taken bool, n int64) error {
	switch {
	case taken:
		return conflict(lambda.CodeDomainDuplicate, "domain", "domain %s is on the whitelist already", name)
	case s.Limits.Domains > 0 && n >= int64(s.Limits.Domains):
		return lambda.Conflict(lambda.CodeDomainLimit, "the account has %d domains: the limit is %d, delete one first", n, s.Limits.Domains)
	}
	return nil
}

// Domain reads one entry.
func (s *Store) Domain(ctx context.Context, account string, id int) (*lambda.Domain, error) {
	d, err := one[lambda.Domain](ctx, s, "domain", domainsRoot, account, strconv.Itoa(id))
	if lambda.Is(err, lambda.KindNotFound) {
		return nil, noDomain(account, id)
	}
	return d, err
}

// Domains reads the whitelist of an account, the oldest entry first.
func (s *Store) Domains(ctx context.Context, account string) ([]lambda.Domain, error) {
	k, err := folder(domainsRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	domains, err := many[lambda.Domain](ctx, s, k)
	slices.SortFunc(domains, func(a, b lambda.Domain) int { return a.ID - b.ID })
	return domains, err
}

// DeleteDomain removes an entry. One that is not there is NotFound.
func (s *Store) DeleteDomain(ctx context.Context, account string, id int) error {
	d, err := s.Domain(ctx, account, id)
	if err != nil {
		return err
	}
	// Of an id there was never another entry, and an entry never changes.
	k := domainsRoot + account + "/" + strconv.Itoa(id)
	r, err := s.commit(ctx, []clientv3.Cmp{exists(k)},
		[]clientv3.Op{clientv3.OpDelete(k), clientv3.OpDelete(domNamesRoot + account + "/" + d.Name)}, nil)
	if err != nil {
		return fmt.Errorf("delete domain %d: %w", id, err)
	}
	if !r.Succeeded {
		return noDomain(account, id)
	}
	s.wrote(r.Header.Revision)
	return nil
}

func noDomain(account string, id int) error {
	return lambda.NotFound(lambda.CodeMissingDomain, "There is no domain %d on %s", id, account)
}
