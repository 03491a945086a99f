package store

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// PutApp saves an app as it is given, new or not, whatever the limits. A client
// name that another app of the account has is a Conflict.
func (s *Store) PutApp(ctx context.Context, a *lambda.App) error {
	k, err := key(appsRoot, a.Account, a.ClientID)
	if err != nil {
		return err
	}
	return update(ctx, s, "put app "+a.ClientName, k, func(old *lambda.App, w *write) error {
		if err := s.moveAppName(ctx, w, old, a); err != nil {
			return err
		}
		return w.put(k, a)
	})
}

// InstallApp saves a new app of an account that exists. A client name or an id
// that is taken is a Conflict.
func (s *Store) InstallApp(ctx context.Context, a *lambda.App) error {
	k, err := key(appsRoot, a.Account, a.ClientID)
	if err != nil {
		return err
	}
	name, err := appNameKey(a.Account, a.ClientName)
	if err != nil {
		return err
	}
	value, err := encode(a)
	if err != nil {
		return err
	}
	return s.create(ctx, creation{
		what: "install app " + a.ClientName, folder: appsRoot + a.Account + "/", limit: s.Limits.Apps,
		full: "the account has %d apps: the limit is %d, uninstall one first",
		free: []condition{
			{name, appNameTaken(a)},
			{k, conflict(lambda.CodeIdentityConflict, "client_id", "client_id %s is taken", a.ClientID)},
		},
		needs: []condition{accountNeeded(a.Account)},
		then:  []clientv3.Op{clientv3.OpPut(k, value), clientv3.OpPut(name, a.ClientID)},
	})
}

func appNameTaken(a *lambda.App) error {
	return conflict(lambda.CodeIdentityConflict, "client_name", "client_name %s is taken by another app of the account", a.ClientName)
}

// UpdateApp changes an app and tells what it then is. change gets the newest
// state, again when another write came in between, and may refuse; client id and
// account stay as they are. An app that does not exist is NotFound, a client
// name that another has a Conflict.
func (s *Store) UpdateApp(ctx context.Context, account, clientID string, change func(*lambda.App) error) (*lambda.App, error) {
	var saved *lambda.App
	err := existing(ctx, s, "update", "app", appsRoot, account, clientID, func(old *lambda.App, w *write) error {
		next := *old
		if err := change(&next); err != nil {
			return err
		}
		next.Account, next.ClientID = old.Account, old.ClientID
		if err := s.moveAppName(ctx, w, old, &next); err != nil {
			return err
		}
		saved = &next
		return w.put(w.key, saved)
	})
	if err != nil {
		return nil, err
	}
	return saved, nil
}

// DeleteApp uninstalls an app, which may may refuse (nil: it may not): its secret
// and its tokens are worth nothing any more. One that does not exist is NotFound.
func (s *Store) DeleteApp(ctx context.Context, account, clientID string, may func(*lambda.App) error) error {
	return remove(ctx, s, "app", appsRoot, account, clientID, may, func(old *lambda.App, w *write) error {
		return s.moveAppName(ctx, w, old, nil)
	})
}

// App reads one app.
func (s *Store) App(ctx context.Context, account, clientID string) (*lambda.App, error) {
	return one[lambda.App](ctx, s, "app", appsRoot, account, clientID)
}

// Apps reads all apps of an account, ordered by client id.
func (s *Store) Apps(ctx context.Context, account string) ([]lambda.App, error) {
	k, err := folder(appsRoot, account)
	if err != nil {
		return nil, nil // such an account has none
	}
	return many[lambda.App](ctx, s, k)
}

// moveAppName makes a write of an app move its name too: from that of old to that
// of now, either nil. The two must be the same app. An app of a version that kept
// no names may share its name with another that has it; such a name stays where
// it is.
func (s *Store) moveAppName(ctx context.Context, w *write, old, now *lambda.App) error {
	if old != nil && (now == nil || now.ClientName != old.ClientName) {
		if err := s.freeAppName(ctx, w, old); err != nil {
			return err
		}
	}
	if now == nil {
		return nil
	}
	k, held, err := s.appName(ctx, now)
	if err != nil {
		return err
	}
	switch {
	case held == nil:
		w.then = append(w.then, clientv3.OpPut(k, now.ClientID))
	case string(held.Value) != now.ClientID && (old == nil || old.ClientName != now.ClientName):
		return appNameTaken(now)
	}
	w.when = append(w.when, unchanged(k, modRevision(held)))
	return nil
}

// freeAppName gives up the name of a, if a is the one that has it.
func (s *Store) freeAppName(ctx context.Context, w *write, a *lambda.App) error {
	k, held, err := s.appName(ctx, a)
	if lambda.Is(err, lambda.KindInvalid) {
		return nil // an earlier version took any name
	}
	if err != nil {
		return err
	}
	if held != nil && string(held.Value) == a.ClientID {
		w.delete(k)
	}
	w.when = append(w.when, unchanged(k, modRevision(held)))
	return nil
}

// appName finds who has the name of a.
func (s *Store) appName(ctx context.Context, a *lambda.App) (string, *mvccpb.KeyValue, error) {
	k, err := appNameKey(a.Account, a.ClientName)
	if err != nil {
		return "", nil, err
	}
	seen, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return "", nil, fmt.Errorf("find app %s: %w", a.ClientName, err)
	}
	return k, first(seen, 0), nil
}

// nameApps gives the apps of gateways that kept no names the name they have. Of
// two of one name the first has it.
func (s *Store) nameApps(ctx context.Context) error {
	seen, err := s.read(ctx, countOf(appsRoot), countOf(appNamesRoot))
	if err != nil || count(seen, 0) == count(seen, 1) {
		return err
	}
	var apps []lambda.App
	_, err = s.list(ctx, appsRoot, 0, func(_ string, kv *mvccpb.KeyValue) error {
		a, err := decodeNew[lambda.App](kv)
		if err != nil {
			s.log.Error().Err(err).Msg("an app in etcd cannot be read and gets no name")
			return nil
		}
		apps = append(apps, *a)
		return nil
	})
	if err != nil {
		return fmt.Errorf("name the apps: %w", err)
	}
	for _, a := range apps {
		err := update(ctx, s, "name app "+a.ClientID, appsRoot+a.Account+"/"+a.ClientID, func(old *lambda.App, w *write) error {
			if old == nil {
				return nil
			}
			return s.moveAppName(ctx, w, old, old)
		})
		if err != nil && !lambda.Is(err, lambda.KindInvalid) { // no name that can be kept
			return err
		}
	}
	return nil
}
