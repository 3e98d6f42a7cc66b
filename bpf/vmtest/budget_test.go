package vmtest

import "testing"

// Budgets of the verifier, in instructions that it looks at. The kernel gives up
// at a million for one program.
const (
	totalBudget   = 1_600_000
	programBudget = 80_000
)

// TestVerifierBudget loads everything and looks at what the verifier had to do.
func TestVerifierBudget(t *testing.T) {
	total, largest := printVerified(t, open(t).programs)
	if total == 0 {
		t.Fatal("no program was counted")
	}
	if total > totalBudget || largest > programBudget {
		t.Errorf("%d instructions verified in all, %d for one program: more than %d and %d", total, largest, totalBudget, programBudget)
	}
}
