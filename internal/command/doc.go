// Package command is the command line: one file for each subcommand, which puts
// parts together and takes them apart in the right order. It is the only place
// that sees all parts.
package command
