// Package docs holds Crier's documents, and the OpenAPI document that swag
// writes from the handlers' annotations (.ci/swagger makes it again).
package docs

import _ "embed"

// Errors is the list of error codes, which problem+json's `type` points to.
//
//go:embed errors.md
var Errors []byte
