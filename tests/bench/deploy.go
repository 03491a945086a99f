package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
)

const (
	deployments = 20
	deployAim   = 300 * time.Millisecond
)

// deployments measures how long it takes from the request to deploy until the
// author sees Deploy Finish, for lambdas that were never deployed before.
func (b *bench) deployments(ctx context.Context) (err error) {
	code, err := os.ReadFile(filepath.Join(b.peers, "hello.js"))
	if err != nil {
		return err
	}
	g, err := b.gateway(ctx, "deploy")
	if err != nil {
		return err
	}
	defer end(g, &err)
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return err
	}
	var times []time.Duration
	for i := range min(deployments, 7*b.rounds) + 1 {
		l, err := author.CreateLambda(ctx, client.LambdaSpec{Name: fmt.Sprintf("hello_%d", i), Description: "measured", Code: string(code)})
		if err != nil {
			return err
		}
		// Time for the pool to start the next blank process, and for the machine to
		// come to rest.
		if err := pause(ctx, 400*time.Millisecond); err != nil {
			return err
		}
		took, err := timeDeployment(ctx, author, l.ID)
		if err != nil {
			return err
		}
		if i > 0 { // the first warms
			times = append(times, took)
		}
	}
	m := median(times)
	b.report.add(row{
		measure: "deploy hello, POST to Deploy Finish",
		ours:    fmt.Sprintf("%s (p90 %.1f, %d lambdas)", milliseconds(m), float64(quantile(times, 0.9))/1e6, len(times)),
		aim:     fmt.Sprintf("≤ %d ms", deployAim.Milliseconds()), met: m <= deployAim,
	})
	return nil
}

// timeDeployment deploys and looks again and again until that has ended.
func timeDeployment(ctx context.Context, author *client.Client, id string) (time.Duration, error) {
	begin := time.Now()
	if err := author.Deploy(ctx, id); err != nil {
		return 0, err
	}
	for {
		l, err := author.Lambda(ctx, id)
		if err != nil {
			return 0, err
		}
		if l.Deployment.Final() {
			if l.Deployment.State != client.DeployFinish {
				return 0, fmt.Errorf("the deployment of %s ended in %s", id, l.Deployment.State)
			}
			return time.Since(begin), nil
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
}
