package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"crier/internal/kafka"
)

// made holds the part of a document between two marks to be a text that a test makes.
func made(t *testing.T, document, mark, test, want string) {
	t.Helper()
	begin, end := fmt.Sprintf("<!-- %s: made by `go test ./docs -run %s -update` -->\n", mark, test), fmt.Sprintf("<!-- %s end -->", mark)
	text := read(t, filepath.Join("docs", document))
	head, rest, ok := strings.Cut(text, begin)
	have, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("docs/%s has lost the marks around its %s", document, mark)
	}
	if have == want {
		return
	}
	if *update {
		if err := os.WriteFile(document, []byte(head+begin+want+end+tail), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("the %s in docs/%s are old: go test ./docs -run %s -update\nwant:\n%s", mark, document, test, want)
}

// The table of rights in operating.md is what the code says that the parts need.
func TestRights(t *testing.T) {
	kinds := map[kmsg.ACLResourceType]string{kmsg.ACLResourceTypeTopic: "topic", kmsg.ACLResourceTypeGroup: "group", kmsg.ACLResourceTypeTransactionalId: "transactional id"}
	operations := map[kmsg.ACLOperation]string{kmsg.ACLOperationRead: "READ", kmsg.ACLOperationWrite: "WRITE", kmsg.ACLOperationCreate: "CREATE", kmsg.ACLOperationDescribe: "DESCRIBE",
		kmsg.ACLOperationDescribeConfigs: "DESCRIBE_CONFIGS", kmsg.ACLOperationAlterConfigs: "ALTER_CONFIGS"}
	var b strings.Builder
	b.WriteString("| part | resource | names | operations |\n|---|---|---|---|\n")
	for _, r := range kafka.Rights {
		names := slices.Clone(r.Names)
		for i := range names {
			if r.Prefixed {
				names[i] += "* (prefixed)"
			}
			names[i] = "`" + names[i] + "`"
		}
		var ops []string
		for _, o := range r.Operations {
			ops = append(ops, operations[o])
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Part, kinds[r.Resource], strings.Join(names, ", "), strings.Join(ops, ", "))
	}
	made(t, "operating.md", "rights", "Rights", b.String())
}
