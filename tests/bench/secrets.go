package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluice-faas/sluice/sdk/client"
	"github.com/sluice-faas/sluice/tests/dev"
	"github.com/sluice-faas/sluice/tests/vaulttest"
)

const (
	secretCount = 300
	warmSecrets = 50 // of them, read before it counts
	cachedAim   = 300 * time.Microsecond
	uncachedAim = 5 * time.Millisecond
)

// secretsCode reads secrets one after another and answers how long each took, in
// milliseconds.
const secretsCode = `
const { Toolbelt } = require('lp-faas-toolbelt')
async function lambda(input, callback) {
  const secrets = Toolbelt.SecretClient()
  const times = []
  for (const key of input.payload.keys) {
    const begin = performance.now()
    await secrets.readSecret(key)
    times.push(performance.now() - begin)
  }
  callback(null, times)
}
`

// secrets measures what a lambda waits for a secret that is in a real Vault: of
// each the first read, and then reads that are answered from memory.
func (b *bench) secrets(ctx context.Context) (err error) {
	dir := filepath.Join(b.dir, "vault")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	vault, err := vaulttest.Launch(ctx, dir)
	if err != nil {
		return err
	}
	defer vault.Kill()
	token, err := vault.Token(ctx, 0, true)
	if err != nil {
		return err
	}
	g, err := dev.Start(ctx, dev.Options{
		DataDir: filepath.Join(b.dir, "secrets"), LogFile: filepath.Join(b.dir, "secrets.log"),
		Args: []string{"--no-sample", "--limit", dev.NoLimits + ",secrets=" + strconv.Itoa(secretCount)},
		Env:  []string{"HOME=" + b.dir, "PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + vault.Address, "VAULT_TOKEN=" + token},
	})
	if err != nil {
		return err
	}
	defer end(g, &err)
	b.report.command("VAULT_ADDR=… VAULT_TOKEN=… bin/sluice dev --no-sample")
	keys, err := manySecrets(ctx, g)
	if err != nil {
		return err
	}
	author, err := g.Login(ctx, "FaaS-Developer")
	if err != nil {
		return err
	}
	id, err := deploy(ctx, author, "secrets", secretsCode)
	if err != nil {
		return err
	}
	return b.readSecrets(ctx, g, id, keys)
}

// manySecrets makes secrets such as an app key is.
func manySecrets(ctx context.Context, g *dev.Gateway) (keys []string, err error) {
	admin, err := g.Login(ctx, "FaaS-Admin")
	if err != nil {
		return nil, err
	}
	for i := range secretCount {
		key := "key-" + strconv.Itoa(i)
		value := map[string]string{"consumerKey": key, "consumerSecret": "0123456789abcdef", "token": "0123456789abcdef", "tokenSecret": "0123456789abcdef"}
		if _, err := admin.CreateSecret(ctx, key, value); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (b *bench) readSecrets(ctx context.Context, g *dev.Gateway, id string, keys []string) error {
	app, err := warmClient(ctx, g)
	if err != nil {
		return err
	}
	warm, cold := keys[:warmSecrets], keys[warmSecrets:]
	if _, err := secretTimes(ctx, app, id, warm); err != nil {
		return err
	}
	uncached, err := secretTimes(ctx, app, id, cold)
	if err != nil {
		return err
	}
	var cached []time.Duration
	for range 4 {
		more, err := secretTimes(ctx, app, id, cold)
		if err != nil {
			return err
		}
		cached = append(cached, more...)
	}
	for _, c := range []struct {
		measure string
		times   []time.Duration
		aim     time.Duration
	}{
		{"a lambda reads a secret, cached", cached, cachedAim}, {"a lambda reads a secret, from Vault", uncached, uncachedAim},
	} {
		m := median(c.times)
		b.report.add(row{
			measure: c.measure, ours: fmt.Sprintf("%.3f ms (p99 %.3f, %d reads)", float64(m)/1e6, float64(quantile(c.times, 0.99))/1e6, len(c.times)),
			aim: fmt.Sprintf("≤ %.1f ms", float64(c.aim)/1e6), met: m <= c.aim,
		})
	}
	return nil
}

// secretTimes has the lambda read those secrets.
func secretTimes(ctx context.Context, c *client.Client, id string, keys []string) ([]time.Duration, error) {
	answer, err := c.Invoke(ctx, id, map[string]any{"keys": keys})
	if err != nil {
		return nil, err
	}
	var ms []float64
	if err := json.Unmarshal(answer, &ms); err != nil {
		return nil, err
	}
	if len(ms) != len(keys) {
		return nil, fmt.Errorf("the lambda read %d of %d secrets", len(ms), len(keys))
	}
	times := make([]time.Duration, len(ms))
	for i, v := range ms {
		times[i] = time.Duration(v * float64(time.Millisecond))
	}
	return times, nil
}
