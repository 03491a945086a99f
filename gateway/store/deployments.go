package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// MaxArtifact is the largest artifact, in bytes: a request to etcd has 1.5 MiB.
const MaxArtifact = 1 << 20

// Start is what is asked for with StartDeployment.
type Start struct {
	Account, LambdaID string
	Kind              lambda.DeploymentKind
	// Version is the one to deploy, 0 for the saved one. It must have been
	// deployed before, and not so long ago that it is forgotten.
	Version int
	By      string
	Once    *Once
}

// StartDeployment asks for a version of a lambda to become live, or for the live
// one to be taken away. One transaction records the version and the work; a
// gateway that runs a deployment.Controller does it. While a deployment is under
// way, or when nothing is live to take away, it is a Conflict; more deployed
// lambdas than Limits.DeployedLambdas is a Conflict with CodeLambdaLimit; a
// version that is not kept is NotFound.
func (s *Store) StartDeployment(ctx context.Context, want Start) (*lambda.Deployment, error) {
	k, err := keysOf(want.Account, want.LambdaID)
	if err != nil {
		return nil, noLambda(want.Account, want.LambdaID)
	}
	for range maxAttempts {
		seen, err := s.readStart(ctx, want, k)
		if err != nil {
			return nil, fmt.Errorf("start deployment of %s: %w", want.LambdaID, err)
		}
		d, started, err := s.start(ctx, k, seen, want)
		if err != nil || started {
			return d, err
		}
	}
	return nil, overtaken("start deployment")
}

// The answers of readStart, in their order.
const (
	seenLambda = iota
	seenLive
	seenWork
	seenVersions
	seenVersion
	seenAllLive
	seenAllWork
)

func (s *Store) readStart(ctx context.Context, want Start, k lambdaKeys) (*clientv3.TxnResponse, error) {
	return s.read(ctx,
		clientv3.OpGet(k.lambda), clientv3.OpGet(k.live), keyOf(k.work),
		keysBelow(k.versions), clientv3.OpGet(k.version(want.Version)),
		keysBelow(liveRoot+want.Account+"/"), keysBelow(workRoot+want.Account+"/"))
}

// start decides on what was seen and writes; false means that it has changed.
func (s *Store) start(ctx context.Context, k lambdaKeys, seen *clientv3.TxnResponse, want Start) (*lambda.Deployment, bool, error) {
	l, err := decodeNew[lambda.Lambda](first(seen, seenLambda))
	if err != nil {
		return nil, false, err
	}
	live, err := decodeNew[lambda.Live](first(seen, seenLive))
	if err != nil {
		return nil, false, err
	}
	if err := s.mayStart(seen, want, l, live); err != nil {
		return nil, false, err
	}
	now := s.Now().UTC()
	d := &lambda.Deployment{
		ID: uuid.NewString(), Name: newName(), Account: want.Account, LambdaID: want.LambdaID, Kind: want.Kind, State: want.Kind.First(),
		CreatedAt: now, CreatedBy: want.By, UpdatedAt: now, UpdatedBy: want.By,
	}
	when := []clientv3.Cmp{
		unchanged(k.lambda, modRevision(first(seen, seenLambda))),
		unchanged(k.live, modRevision(first(seen, seenLive))),
		absent(k.work),
	}
	if s.Limits.DeployedLambdas > 0 && want.Kind == lambda.Deploy {
		when = append(when, noneNewer(workRoot+want.Account+"/", seen.Header.Revision))
	}
	var then []clientv3.Op
	switch {
	case want.Kind == lambda.Undeploy:
		d.Version, d.Digest = live.Version, live.Digest
	case want.Version != 0 && want.Version != l.Version:
		v, err := decodeNew[lambda.Version](first(seen, seenVersion))
		if err != nil {
			return nil, false, err
		}
		if v == nil {
			return nil, false, noVersion(want.Account, want.LambdaID, want.Version)
		}
		d.Version, d.Digest = v.Version, v.Digest
		when = append(when, exists(k.version(v.Version)))
	default:
		v := l.Snapshot(now, want.By)
		d.Version, d.Digest = v.Version, v.Digest
		if !holds(all(seen, seenVersions), k.version(v.Version)) {
			value, err := encode(v)
			if err != nil {
				return nil, false, err
			}
			then = append(then, clientv3.OpPut(k.version(v.Version), value))
		}
	}
	value, err := encode(d)
	if err != nil {
		return nil, false, err
	}
	r, err := s.commitOnce(ctx, want.Once, d.ID, when, append(then, clientv3.OpPut(k.work, value)))
	if err != nil {
		return nil, false, fmt.Errorf("start deployment of %s: %w", want.LambdaID, err)
	}
	return d, r.Succeeded, nil
}

func (s *Store) mayStart(seen *clientv3.TxnResponse, want Start, l *lambda.Lambda, live *lambda.Live) error {
	switch {
	case l == nil:
		return noLambda(want.Account, want.LambdaID)
	case first(seen, seenWork) != nil:
		return lambda.Conflict(lambda.CodeDeploymentConflict, lambda.TextDeploymentActive)
	case want.Kind == lambda.Undeploy && live == nil:
		return lambda.Conflict(lambda.CodeDeploymentConflict, "lambda %s is not deployed: there is nothing to undeploy", l.Name)
	case want.Kind != lambda.Undeploy && want.Kind != lambda.Deploy:
		return lambda.Invalid("kind", "there is no deployment of kind %q", want.Kind)
	}
	if s.Limits.DeployedLambdas <= 0 || want.Kind == lambda.Undeploy || live != nil {
		return nil
	}
	deployed := map[string]bool{}
	for _, kv := range all(seen, seenAllLive) {
		deployed[strings.TrimPrefix(string(kv.Key), liveRoot)] = true
	}
	for _, kv := range all(seen, seenAllWork) { // on the way to be live, or already
		deployed[strings.TrimPrefix(string(kv.Key), workRoot)] = true
	}
	if len(deployed) >= s.Limits.DeployedLambdas {
		return lambda.Conflict(lambda.CodeLambdaLimit, "the account has %d deployed lambdas: the limit is %d, undeploy one first",
			len(deployed), s.Limits.DeployedLambdas)
	}
	return nil
}

func holds(kvs []*mvccpb.KeyValue, k string) bool {
	for _, kv := range kvs {
		if string(kv.Key) == k {
			return true
		}
	}
	return false
}

// Live reads what is live of a lambda, or nil.
func (s *Store) Live(ctx context.Context, account, id string) (*lambda.Live, error) {
	k, err := keysOf(account, id)
	if err != nil {
		return nil, nil // nothing of that name can be live
	}
	r, err := s.read(ctx, clientv3.OpGet(k.live))
	if err != nil {
		return nil, fmt.Errorf("read what is live of %s: %w", id, err)
	}
	return decodeNew[lambda.Live](first(r, 0))
}

// Version reads one immutable version of a lambda.
func (s *Store) Version(ctx context.Context, account, id string, version int) (*lambda.Version, error) {
	k, err := keysOf(account, id)
	if err != nil {
		return nil, noLambda(account, id)
	}
	v := new(lambda.Version)
	found, err := s.get(ctx, k.version(version), v)
	if err != nil {
		return nil, fmt.Errorf("read version %d of %s: %w", version, id, err)
	}
	if !found {
		return nil, noVersion(account, id, version)
	}
	return v, nil
}

func noVersion(account, id string, version int) error {
	return lambda.NotFound(lambda.CodeMissingLambda, "There is no version %d of lambda %s on %s", version, id, account)
}

// PutArtifact keeps what a runtime made of the version with that digest. One of
// more than MaxArtifact bytes is TooLarge. Writing the same twice is no error.
func (s *Store) PutArtifact(ctx context.Context, account, id, digest string, artifact []byte) error {
	op, err := putArtifact(account, id, digest, artifact)
	if err != nil {
		return err
	}
	if _, err := s.commit(ctx, nil, []clientv3.Op{op}, nil); err != nil {
		return fmt.Errorf("put artifact of %s: %w", id, err)
	}
	return nil
}

func putArtifact(account, id, digest string, artifact []byte) (clientv3.Op, error) {
	if len(artifact) > MaxArtifact {
		return clientv3.Op{}, &lambda.Error{Kind: lambda.KindTooLarge, Code: lambda.CodeDeploymentFailed,
			Message: fmt.Sprintf("the built lambda has %d bytes: the limit is %d", len(artifact), MaxArtifact)}
	}
	k, err := key(artifactsRoot, account, id, digest)
	if err != nil {
		return clientv3.Op{}, err
	}
	return clientv3.OpPut(k, string(artifact)), nil
}

// Artifact reads what was kept for that digest.
func (s *Store) Artifact(ctx context.Context, account, id, digest string) ([]byte, error) {
	k, err := key(artifactsRoot, account, id, digest)
	if err != nil {
		return nil, missing("artifact", digest)
	}
	r, err := s.read(ctx, clientv3.OpGet(k))
	if err != nil {
		return nil, fmt.Errorf("read artifact of %s: %w", id, err)
	}
	kv := first(r, 0)
	if kv == nil {
		return nil, missing("artifact", digest)
	}
	return kv.Value, nil
}

// History reads the deployments of a lambda that have ended, newest first.
// Undeployments are not among them. The versions that they name can be read.
func (s *Store) History(ctx context.Context, account, id string) ([]lambda.Deployment, error) {
	k, err := keysOf(account, id)
	if err != nil {
		return nil, nil // such a lambda has none
	}
	h, err := many[lambda.Deployment](ctx, s, k.history)
	for i, j := 0, len(h)-1; i < j; i, j = i+1, j-1 {
		h[i], h[j] = h[j], h[i]
	}
	return h, err
}
