// Backpropagation by hand. To check it:
//   backprop-ref verify --command 'java Mine.java' --many
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

class Mine {
    /** What is found: the loss, and dW and db with the shapes of weights and biases. */
    record Gradients(double loss, double[][][] dW, double[][] db) {}

    /**
     * The loss of a batch, and its gradients; null for a network that it is not made for.
     *
     * sizes such as {2, 3, 1}; activations, a name for each layer of weights; loss, a name. weights[l][k][j] is from
     * input k to neuron j; biases[l][j]; x[s][k] and y[s][j] of sample s.
     */
    static Gradients gradients(
            int[] sizes, String[] activations, String loss,
            double[][][] weights, double[][] biases, double[][] x, double[][] y) {
        // Fill in the forward and the backward pass here.
        return null;
    }

    /** A case a line on standard input, an answer a line on standard output. */
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Map<?, ?> asked = (Map<?, ?>) new Json(line).value();
            Map<?, ?> network = (Map<?, ?>) asked.get("network");
            boolean plain = asked.get("da") == null && ((Double) asked.get("weight_decay")) == 0.0;
            Gradients found = !plain ? null : gradients(
                    ((List<?>) network.get("sizes")).stream().mapToInt(n -> ((Double) n).intValue()).toArray(),
                    ((List<?>) network.get("activations")).toArray(new String[0]), (String) network.get("loss"),
                    cube(asked.get("weights")), matrix(asked.get("biases")),
                    matrix(asked.get("x")), matrix(asked.get("y")));
            System.out.println(found == null ? "{\"not_judged\": \"not written for this case\"}"
                    : "{\"loss\": " + found.loss() + ", \"dW\": " + Arrays.deepToString(found.dW())
                            + ", \"db\": " + Arrays.deepToString(found.db()) + "}");
        }
    }

    static double[] vector(Object list) {
        return ((List<?>) list).stream().mapToDouble(n -> (Double) n).toArray();
    }

    static double[][] matrix(Object list) {
        return ((List<?>) list).stream().map(Mine::vector).toArray(double[][]::new);
    }

    static double[][][] cube(Object list) {
        return ((List<?>) list).stream().map(Mine::matrix).toArray(double[][][]::new);
    }

    /** JSON as maps, lists, texts, numbers (Double), booleans and null. */
    static class Json {
        final String text;
        int at = 0;

        Json(String text) {
            this.text = text;
        }

        char skip() {
            while (" \t\r\n,:".indexOf(text.charAt(at)) >= 0) at++;
            return text.charAt(at);
        }

        Object value() {
            char first = skip();
            if (first == '{') {
                Map<String, Object> map = new LinkedHashMap<>();
                for (at++; skip() != '}';) map.put((String) value(), value());
                at++;
                return map;
            }
            if (first == '[') {
                List<Object> list = new ArrayList<>();
                for (at++; skip() != ']';) list.add(value());
                at++;
                return list;
            }
            int start = at;
            if (first == '"') {
                at = text.indexOf('"', at + 1) + 1;
                return text.substring(start + 1, at - 1);
            }
            while (at < text.length() && ",]} ".indexOf(text.charAt(at)) < 0) at++;
            String word = text.substring(start, at);
            return word.equals("null") ? null : word.length() > 3 && word.endsWith("e") ? (Object) word.equals("true")
                    : Double.valueOf(word);
        }
    }
}
