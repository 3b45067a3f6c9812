/* Backpropagation by hand. To check it:
 *   cc -O2 -o mine mine.c -lm
 *   backprop-ref verify --command ./mine --many
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 }; /* layers */

typedef struct {
    int layers;                 /* of weights */
    int size[MOST + 1];         /* neurons in each layer, the inputs first */
    char *activation[MOST];     /* the name of each layer's */
    char *loss;                 /* its name */
    int batch;
    double *W[MOST], *b[MOST];  /* W[l][k * n_out + j] from input k to neuron j, where n_out is size[l + 1]; b[l][j] */
    double *x, *y;              /* x[s * size[0] + k] and y[s * size[layers] + j] of sample s */
    double value;               /* to fill in: the loss */
    double *dW[MOST], *db[MOST]; /* to fill in, like W and b; all 0 */
} Net;

/* The loss of a batch and its gradients; 0 for a network that it is not made for, else 1. */
static int gradients(Net *net) {
    /* Fill in the forward and the backward pass here. */
    (void)net;
    return 0;
}

/* ---- JSON */

typedef struct Node {
    char kind; /* the character it begins with; '0': a number */
    char *text, *key;
    double number;
    struct Node *first, *next;
} Node;

static char *at;

static void fail(const char *why) {
    fprintf(stderr, "mine: %s\n", why);
    exit(1);
}

static void *allocate(size_t n, size_t size) {
    void *found = calloc(n + 1, size);
    if (!found) fail("out of memory");
    return found;
}

static void skip(void) {
    at += strspn(at, " \t\r\n,:");
}

static char *quoted(void) {
    char *start = ++at;
    at = strchr(at, '"');
    if (!at) fail("a text without end");
    *at++ = 0;
    return start;
}

static Node *parse(void) {
    Node *node = allocate(1, sizeof *node), **tail = &node->first;
    skip();
    node->kind = *at;
    if (*at == '{' || *at == '[') {
        char kind = *at++;
        for (skip(); *at && *at != ']' && *at != '}'; skip()) {
            char *key = kind == '{' ? quoted() : NULL;
            *tail = parse();
            (*tail)->key = key;
            tail = &(*tail)->next;
        }
        if (*at) at++;
    } else if (*at == '"') {
        node->text = quoted();
    } else if (strchr("ntf", *at)) {
        at += *at == 'f' ? 5 : 4;
    } else {
        char *end;
        node->kind = '0';
        node->number = strtod(at, &end);
        if (end == at) fail("not JSON");
        at = end;
    }
    return node;
}

static Node *get(Node *object, const char *key) {
    for (Node *entry = object->first; entry; entry = entry->next)
        if (entry->key && !strcmp(entry->key, key)) return entry;
    fail(key);
    return NULL;
}

static int count(Node *list) {
    int n = 0;
    for (Node *entry = list->first; entry; entry = entry->next) n++;
    return n;
}

static double *fill(Node *node, double *to) {
    if (node->kind != '[') *to++ = node->number;
    for (Node *entry = node->first; entry; entry = entry->next) to = fill(entry, to);
    return to;
}

static double *numbers(Node *node, int n) {
    double *found = allocate((size_t)n, sizeof *found);
    fill(node, found);
    return found;
}

static void print_rows(const char *key, double **arrays, Net *net, int matrices) {
    printf(", \"%s\": [", key);
    for (int l = 0; l < net->layers; l++) {
        int rows = matrices ? net->size[l] : 1, n = net->size[l + 1];
        printf(l ? ", %s" : "%s", matrices ? "[" : "");
        for (int k = 0; k < rows; k++) {
            for (int j = 0; j < n; j++) printf("%s%.17g", j ? ", " : k ? ", [" : "[", arrays[l][k * n + j]);
            printf("]");
        }
        if (matrices) printf("]");
    }
    printf("]");
}

static void answer(Node *asked) {
    Net net = {0};
    Node *network = get(asked, "network"), *sizes = get(network, "sizes")->first;
    Node *W = get(asked, "weights")->first, *b = get(asked, "biases")->first;
    Node *activation = get(network, "activations")->first;
    net.layers = count(get(network, "activations"));
    if (net.layers > MOST) fail("too many layers");
    net.batch = count(get(asked, "x"));
    net.loss = get(network, "loss")->text;
    for (int l = 0; l <= net.layers; l++, sizes = sizes->next) net.size[l] = (int)sizes->number;
    for (int l = 0; l < net.layers; l++, W = W->next, b = b->next, activation = activation->next) {
        int n = net.size[l] * net.size[l + 1];
        net.activation[l] = activation->text;
        net.W[l] = numbers(W, n);
        net.b[l] = numbers(b, net.size[l + 1]);
        net.dW[l] = allocate((size_t)n, sizeof(double));
        net.db[l] = allocate((size_t)net.size[l + 1], sizeof(double));
    }
    net.x = numbers(get(asked, "x"), net.batch * net.size[0]);
    net.y = numbers(get(asked, "y"), net.batch * net.size[net.layers]);
    if (get(asked, "da")->kind == '[' || get(asked, "weight_decay")->number != 0.0 || !gradients(&net)) {
        printf("{\"not_judged\": \"not written for this case\"}\n");
    } else {
        printf("{\"loss\": %.17g", net.value);
        print_rows("dW", net.dW, &net, 1);
        print_rows("db", net.db, &net, 0);
        printf("}\n");
    }
    fflush(stdout);
}

/* A case a line on standard input, an answer a line on standard output. */
int main(void) {
    size_t room_for = 1 << 20, length = 0;
    char *line = malloc(room_for);
    for (int c; line && (c = getchar()) != EOF;) {
        if (length + 1 == room_for) line = realloc(line, room_for *= 2);
        if (!line) break;
        if (c != '\n') {
            line[length++] = (char)c;
            continue;
        }
        line[length] = 0;
        length = 0;
        at = line;
        answer(parse());
    }
    return 0;
}
