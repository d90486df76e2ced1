# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_barge_global_optspecs
    string join \n h/help V/version
end

function __fish_barge_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_barge_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_barge_using_subcommand
    set -l cmd (__fish_barge_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c barge -n "__fish_barge_needs_command" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_needs_command" -s V -l version -d 'Print version'
complete -c barge -n "__fish_barge_needs_command" -f -a "inspect" -d 'Show what a reference holds: digest, platforms, which of them are present'
complete -c barge -n "__fish_barge_needs_command" -f -a "inventory" -d 'List what is there, for copies that leave it out'
complete -c barge -n "__fish_barge_needs_command" -f -a "list-tags" -d 'List the tags that the tag options select, one a line'
complete -c barge -n "__fish_barge_needs_command" -f -a "login" -d 'Log in to a registry, for barge, podman and skopeo'
complete -c barge -n "__fish_barge_needs_command" -f -a "logout" -d 'Forget a login'
complete -c barge -n "__fish_barge_needs_command" -f -a "undo" -d 'Put back tags that a rollback run which was killed left half-way'
complete -c barge -n "__fish_barge_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c barge -n "__fish_barge_needs_command" -f -a "copy" -d 'Copy one tag of a repository, or many'
complete -c barge -n "__fish_barge_needs_command" -f -a "verify" -d 'Check that all is there that a tag lists, or many'
complete -c barge -n "__fish_barge_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c barge -n "__fish_barge_using_subcommand inspect" -l creds -d 'User and password' -r
complete -c barge -n "__fish_barge_using_subcommand inspect" -l creds-file -d 'A file with USER:PASS; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand inspect" -l registry-token -d 'A bearer token' -r
complete -c barge -n "__fish_barge_using_subcommand inspect" -l authfile -d 'A file with credentials, as Docker\'s config.json' -r -F
complete -c barge -n "__fish_barge_using_subcommand inspect" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key' -r -F
complete -c barge -n "__fish_barge_using_subcommand inspect" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too]' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand inspect" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand inspect" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand inspect" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand inspect" -l raw -d 'Print the bytes of the manifest as they are'
complete -c barge -n "__fish_barge_using_subcommand inspect" -l platforms -d 'Show what refers to the image of each platform too, and read all of it: what is lost or refers to something else is marked'
complete -c barge -n "__fish_barge_using_subcommand inspect" -l no-creds -d 'Ask as nobody'
complete -c barge -n "__fish_barge_using_subcommand inspect" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand inspect" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand inspect" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand inventory" -l tags -d 'Tags that match as a whole' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l exclude-tags -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l tag-glob -d 'Tags that match: latest,3.[789].?,*-slim' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l exclude-tag-glob -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l referrers -d 'Include what refers to images: signatures, SBOMs; =TYPE[,TYPE...]: only such' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l creds -d 'User and password' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l creds-file -d 'A file with USER:PASS; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand inventory" -l registry-token -d 'A bearer token' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l authfile -d 'A file with credentials, as Docker\'s config.json' -r -F
complete -c barge -n "__fish_barge_using_subcommand inventory" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key' -r -F
complete -c barge -n "__fish_barge_using_subcommand inventory" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too]' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand inventory" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand inventory" -l check -d 'Ask for every blob, instead of trusting a registry that has its manifest'
complete -c barge -n "__fish_barge_using_subcommand inventory" -l all-tags -d 'Every tag'
complete -c barge -n "__fish_barge_using_subcommand inventory" -l include-digest-tags -d 'Do not leave out digest tags (sha256-…, with .sig, .att, .sbom)'
complete -c barge -n "__fish_barge_using_subcommand inventory" -l no-creds -d 'Ask as nobody'
complete -c barge -n "__fish_barge_using_subcommand inventory" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand inventory" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand inventory" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l tags -d 'Tags that match as a whole' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l exclude-tags -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l tag-glob -d 'Tags that match: latest,3.[789].?,*-slim' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l exclude-tag-glob -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l creds -d 'User and password' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l creds-file -d 'A file with USER:PASS; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l registry-token -d 'A bearer token' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l authfile -d 'A file with credentials, as Docker\'s config.json' -r -F
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key' -r -F
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too]' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand list-tags" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l all-tags -d 'Every tag'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l include-digest-tags -d 'Do not leave out digest tags (sha256-…, with .sig, .att, .sbom)'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -l no-creds -d 'Ask as nobody'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand list-tags" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand login" -s u -l username -d 'The user' -r
complete -c barge -n "__fish_barge_using_subcommand login" -l authfile -d 'The file to store the login in' -r -F
complete -c barge -n "__fish_barge_using_subcommand login" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key' -r -F
complete -c barge -n "__fish_barge_using_subcommand login" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too]' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand login" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand login" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand login" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand login" -l password-stdin -d 'Read the password from standard input'
complete -c barge -n "__fish_barge_using_subcommand login" -l get-login -d 'Only print the user that is logged in'
complete -c barge -n "__fish_barge_using_subcommand login" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand login" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand login" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand logout" -l authfile -d 'The file to forget it in' -r -F
complete -c barge -n "__fish_barge_using_subcommand logout" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand logout" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand logout" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand logout" -s a -l all -d 'Forget every login of the file'
complete -c barge -n "__fish_barge_using_subcommand logout" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand logout" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand logout" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand undo" -l forget -d 'Drop a journal, and leave its tags as they are' -r
complete -c barge -n "__fish_barge_using_subcommand undo" -l state-dir -d 'Where journals are kept [default: ~/.local/state/barge]' -r -F
complete -c barge -n "__fish_barge_using_subcommand undo" -l creds -d 'User and password' -r
complete -c barge -n "__fish_barge_using_subcommand undo" -l creds-file -d 'A file with USER:PASS; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand undo" -l registry-token -d 'A bearer token' -r
complete -c barge -n "__fish_barge_using_subcommand undo" -l authfile -d 'A file with credentials, as Docker\'s config.json' -r -F
complete -c barge -n "__fish_barge_using_subcommand undo" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key' -r -F
complete -c barge -n "__fish_barge_using_subcommand undo" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too]' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand undo" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand undo" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand undo" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand undo" -l all -d 'Put back the tags of every unfinished journal'
complete -c barge -n "__fish_barge_using_subcommand undo" -l no-creds -d 'Ask as nobody'
complete -c barge -n "__fish_barge_using_subcommand undo" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand undo" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand undo" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand completions" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand copy" -l arch -l platform -d 'Platforms to copy: arm64, linux/arm64, arm/v7, windows/amd64:10.0.17763' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l mode -d 'What becomes of an index, see below' -r -f -a "filtered-index\t'A new index of just the platforms asked for'
sparse-index\t'The original index, its digest kept; only the children asked for come along'
all\t'Every child, and the index itself'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l require-arch -d 'A platform to copy that has to be there' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l missing-arch -d 'What becomes of a tag with none of the platforms' -r -f -a "fail\t'The tag fails'
skip\t'The tag is left out, and the summary says so'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l tags -d 'Tags that match as a whole' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l exclude-tags -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l tag-glob -d 'Tags that match: latest,3.[789].?,*-slim' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l exclude-tag-glob -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l policy -d 'What a failed tag means for the others' -r -f -a "best-effort\t'Every tag that can be copied is copied'
rollback\t'All tags or none'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l state-dir -d 'Where journals and locks of runs are [default: ~/.local/state/barge]' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -s j -l jobs -d 'Blob transfers at once' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l recheck -d 'How far a tag whose digest is right is looked into; unless none, each tag that is written is looked at once after that' -r -f -a "none\t'Not at all'
children\t'Its wanted children, where the index is the source\'s own'
blobs\t'Every blob of them too, in a layout its bytes: repairs a damaged mirror'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l have -d 'Leave out of the oci-archive what barge inventory lists; - is stdin' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l referrers -d 'Include what refers to images: signatures, SBOMs; =TYPE[,TYPE...]: only such' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l missing-referrers -d 'What becomes of a tag where the source lists referrers that are gone' -r -f -a "fail\t'The tag fails'
skip\t'It is left out, and the summary says so'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-creds -d 'User and password for the source' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-creds-file -d 'A file with USER:PASS for the source; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-registry-token -d 'A bearer token for the source' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-authfile -d 'A file with credentials for the source' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-cert-dir -d 'Certificates for the source' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-tls-verify -d 'Verify the source\'s TLS certificate' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-creds -d 'User and password for the destination' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-creds-file -d 'A file with USER:PASS for the destination; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-registry-token -d 'A bearer token for the destination' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-authfile -d 'A file with credentials for the destination' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-cert-dir -d 'Certificates for the destination' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-tls-verify -d 'Verify the destination\'s TLS certificate' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand copy" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l report -d 'Write the JSON summary to a file as well' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l digestfile -d 'Write the digest of the image copied, or a line for each, to a file; it is empty when there is none' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l progress -d 'How progress is shown on standard error' -r -f -a "auto\t'Bars on a terminal, lines elsewhere'
bar\t'Bars'
plain\t'A line every 10 seconds'
none\t'Not at all'"
complete -c barge -n "__fish_barge_using_subcommand copy" -l creds -d 'User and password (both sides)' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l creds-file -d 'A file with USER:PASS; - is standard input (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l registry-token -d 'A bearer token (both sides)' -r
complete -c barge -n "__fish_barge_using_subcommand copy" -l authfile -d 'A file with credentials, as Docker\'s config.json (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand copy" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too] (both sides)' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand copy" -s a -l all -d 'The same as --mode all'
complete -c barge -n "__fish_barge_using_subcommand copy" -l require-signature -d 'Fail rather than leave platforms out of an index that is signed'
complete -c barge -n "__fish_barge_using_subcommand copy" -l include-foreign-layers -d 'Copy nondistributable layers like any other, where the source has them'
complete -c barge -n "__fish_barge_using_subcommand copy" -l all-tags -d 'Every tag'
complete -c barge -n "__fish_barge_using_subcommand copy" -l include-digest-tags -d 'Do not leave out digest tags (sha256-…, with .sig, .att, .sbom)'
complete -c barge -n "__fish_barge_using_subcommand copy" -l preserve-digests -d 'Fail a tag whose digest would not be the source\'s'
complete -c barge -n "__fish_barge_using_subcommand copy" -l dry-run -d 'Only say what would be copied'
complete -c barge -n "__fish_barge_using_subcommand copy" -l force -d 'Replace another repository\'s image of the same REF (layouts, OCI archives); write a compressed OCI archive plain; replace the whole file (docker-archive)'
complete -c barge -n "__fish_barge_using_subcommand copy" -l src-no-creds -d 'Ask the source as nobody'
complete -c barge -n "__fish_barge_using_subcommand copy" -l dest-no-creds -d 'Ask the destination as nobody'
complete -c barge -n "__fish_barge_using_subcommand copy" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand copy" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand copy" -l no-creds -d 'Ask as nobody (both sides)'
complete -c barge -n "__fish_barge_using_subcommand copy" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand verify" -l against -d 'Compare the digest of each tag with what SOURCE has' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -s j -l jobs -d 'Blobs that --deep reads at once' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l arch -l platform -d 'Platforms that have to be whole: arm64, linux/arm64, arm/v7' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l require-arch -d 'A platform that every tag has to have' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l referrers -d 'Include what refers to images: signatures, SBOMs; =TYPE[,TYPE...]: only such' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l tags -d 'Tags that match as a whole' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l exclude-tags -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l tag-glob -d 'Tags that match: latest,3.[789].?,*-slim' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l exclude-tag-glob -d 'Tags to leave out' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-creds -d 'User and password for the source' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-creds-file -d 'A file with USER:PASS for the source; - is standard input' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-registry-token -d 'A bearer token for the source' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-authfile -d 'A file with credentials for the source' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-cert-dir -d 'Certificates for the source' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-tls-verify -d 'Verify the source\'s TLS certificate' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand verify" -l retry-times -d 'Failures in a row that one request may have' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l stall-timeout -d 'Drop and resume a connection that moves no byte for that long, or less than 1 KiB/s for four times as long' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -s o -l output -d 'The form of what goes to standard output' -r -f -a "text\t'For people'
json\t'For scripts'"
complete -c barge -n "__fish_barge_using_subcommand verify" -l creds -d 'User and password (both sides)' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l creds-file -d 'A file with USER:PASS; - is standard input (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l registry-token -d 'A bearer token (both sides)' -r
complete -c barge -n "__fish_barge_using_subcommand verify" -l authfile -d 'A file with credentials, as Docker\'s config.json (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l cert-dir -d 'A directory with *.crt, and *.cert with *.key (both sides)' -r -F
complete -c barge -n "__fish_barge_using_subcommand verify" -l tls-verify -d 'Verify TLS certificates [default: true, on loopback HTTP too] (both sides)' -r -f -a "true\t''
false\t''"
complete -c barge -n "__fish_barge_using_subcommand verify" -l deep -d 'Read and hash every blob, instead of asking for its size'
complete -c barge -n "__fish_barge_using_subcommand verify" -l all-tags -d 'Every tag'
complete -c barge -n "__fish_barge_using_subcommand verify" -l include-digest-tags -d 'Do not leave out digest tags (sha256-…, with .sig, .att, .sbom)'
complete -c barge -n "__fish_barge_using_subcommand verify" -l src-no-creds -d 'Ask the source as nobody'
complete -c barge -n "__fish_barge_using_subcommand verify" -s v -l verbose -d 'Say more on standard error (-vv: every request)'
complete -c barge -n "__fish_barge_using_subcommand verify" -s q -l quiet -d 'Say nothing on standard error but errors'
complete -c barge -n "__fish_barge_using_subcommand verify" -l no-creds -d 'Ask as nobody (both sides)'
complete -c barge -n "__fish_barge_using_subcommand verify" -s h -l help -d 'Print help'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "inspect" -d 'Show what a reference holds: digest, platforms, which of them are present'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "inventory" -d 'List what is there, for copies that leave it out'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "list-tags" -d 'List the tags that the tag options select, one a line'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "login" -d 'Log in to a registry, for barge, podman and skopeo'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "logout" -d 'Forget a login'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "undo" -d 'Put back tags that a rollback run which was killed left half-way'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "copy" -d 'Copy one tag of a repository, or many'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "verify" -d 'Check that all is there that a tag lists, or many'
complete -c barge -n "__fish_barge_using_subcommand help; and not __fish_seen_subcommand_from inspect inventory list-tags login logout undo completions copy verify help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
