package secret

import (
	"context"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// Away is a Store that this gateway cannot use, for that reason: every method
// says so, and Check tells the reason. Safe for concurrent use.
type Away struct{ Reason error }

var _ Store = Away{}

// List fails.
func (a Away) List(context.Context, string) ([]Secret, error) { return nil, a.refuse() }

// Read fails.
func (a Away) Read(context.Context, string, string) (*Secret, error) { return nil, a.refuse() }

// Create fails.
func (a Away) Create(context.Context, Secret, int) (*Secret, error) { return nil, a.refuse() }

// Update fails.
func (a Away) Update(context.Context, Secret) (*Secret, error) { return nil, a.refuse() }

// Delete fails.
func (a Away) Delete(context.Context, string, string, int) error { return a.refuse() }

// Check gives the reason.
func (a Away) Check(context.Context) error { return a.Reason }

func (a Away) refuse() error { return lambda.SecretsRefused(a.Reason) }
