package invoke

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	"github.com/sluice-faas/sluice/gateway/lambda"
	"github.com/sluice-faas/sluice/plugins/host"
	"github.com/sluice-faas/sluice/plugins/pool"
)

// Versions reads what a deployment runs.
type Versions interface {
	Version(ctx context.Context, account, id string, version int) (*lambda.Version, error)
	Artifact(ctx context.Context, account, lambdaID, digest string) ([]byte, error)
}

// Specs makes the pool's Spec of what is live. Whoever warms a deployment and
// whoever calls it must use the same Specs. Safe for concurrent use.
type Specs struct {
	versions Versions
	platform map[string]string
	limits   host.Limits
	secrets  Secrets
	egress   Egress
}

// Egress gives lambdas their way to other hosts.
type Egress func(account, lambdaID string) host.Egress

// NewSpecs makes Specs. The environment of every lambda holds platform, for
// what is the same for all (DOMAIN, DC), beside the lambda's own variables and
// BRAND_ID, LAMBDA_UUID and NODE_ENV; limits hold for every process. secrets may
// be nil: then lambdas are told that there are none. egress may be nil: then they
// reach no other host.
func NewSpecs(versions Versions, platform map[string]string, limits host.Limits, secrets Secrets, egress Egress) *Specs {
	return &Specs{versions: versions, platform: maps.Clone(platform), limits: limits, secrets: secrets, egress: egress}
}

// memory is what one process may have, for people.
func (s *Specs) memory() string {
	return fmt.Sprintf("%d MiB for all calls of a process together", cmp.Or(s.limits.MemoryMiB, 256))
}

// PoolKey is the pool's key of a deployment, for whoever retires it.
func PoolKey(account, lambdaID, deploymentID string) string {
	return account + "/" + lambdaID + "/" + deploymentID
}

// SpecFor makes the Spec of a deployment. Nothing is read before a process has
// to be loaded for it.
func (s *Specs) SpecFor(live lambda.Live) pool.Spec {
	return s.spec(&live)
}

func (s *Specs) spec(live *lambda.Live) pool.Spec {
	return pool.Spec{
		Key:     PoolKey(live.Account, live.LambdaID, live.DeploymentID),
		Account: live.Account,
		Runtime: live.Runtime,
		Load:    func(ctx context.Context) (host.LoadRequest, error) { return s.load(ctx, live) },
	}
}

func (s *Specs) load(ctx context.Context, live *lambda.Live) (host.LoadRequest, error) {
	v, err := s.versions.Version(ctx, live.Account, live.LambdaID, live.Version)
	if err != nil {
		return host.LoadRequest{}, fmt.Errorf("read version %d of %s: %w", live.Version, live.LambdaID, err)
	}
	if v.Digest != live.Digest {
		return host.LoadRequest{}, fmt.Errorf("version %d of %s has digest %s, deployed was %s", live.Version, live.LambdaID, v.Digest, live.Digest)
	}
	artifact, err := s.versions.Artifact(ctx, live.Account, live.LambdaID, live.Digest)
	if err != nil {
		return host.LoadRequest{}, fmt.Errorf("read the artifact of version %d of %s: %w", live.Version, live.LambdaID, err)
	}
	request := host.LoadRequest{Artifact: artifact, Environment: s.environment(v), Limits: s.limits, Secrets: s.secretsOf(live)}
	if s.egress != nil {
		request.Egress = s.egress(live.Account, live.LambdaID)
	}
	return request, nil
}

// environment puts the platform's names over the author's, which cannot hold
// one of them unless it was reserved after it was saved.
func (s *Specs) environment(v *lambda.Version) map[string]string {
	env := make(map[string]string, len(v.Environment)+len(s.platform)+3)
	for _, p := range v.Environment {
		env[p.Key] = p.Value
	}
	maps.Copy(env, s.platform)
	env["BRAND_ID"] = v.Account
	env["LAMBDA_UUID"] = v.LambdaID
	env["NODE_ENV"] = "production"
	return env
}
